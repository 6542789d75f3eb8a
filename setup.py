"""What pyproject.toml cannot say: configs/, at the top of the tree, travels in the wheel as capsnet.configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["capsnet*"]), "capsnet.configs", "hydra_plugins"],
    package_dir={"capsnet.configs": "configs"},
)
