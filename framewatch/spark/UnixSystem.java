package com.sun.security.auth.module;

/** Replaces Java's own class if the system has no name for the user, because Hadoop requires one. */
public class UnixSystem {
    public String getUsername() { return System.getProperty("framewatch.user"); }
    public long getUid() { return Long.getLong("framewatch.uid"); }
    public long getGid() { return Long.getLong("framewatch.gid"); }
    public long[] getGroups() { return new long[0]; }
}
