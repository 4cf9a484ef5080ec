package com.sun.security.auth.module;

/** Stands in for Java's own class where the system knows no name for the user: Hadoop cannot do without one. */
public class UnixSystem {
    public String getUsername() { return System.getProperty("framewatch.user"); }
    public long getUid() { return Long.getLong("framewatch.uid"); }
    public long getGid() { return Long.getLong("framewatch.gid"); }
    public long[] getGroups() { return new long[0]; }
}
