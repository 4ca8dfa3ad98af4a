"""What pyproject.toml cannot say: the demo's photos lie beside the package, and belong into its wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Relative to the checkout and, in a wheel, to the package.
DATA = ("data/README.md", "data/textures/*/*/*.jpg")


class BuildWithPhotos(build_py):
    """Build the package with `DATA` in it, as ``featcache/data``; an editable install finds it in the checkout."""

    def run(self) -> None:
        """Build, and copy what is not there yet."""
        super().run()
        for target, source in self._photos().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)

    def get_source_files(self) -> list[str]:
        """Return what an sdist must hold for a wheel to be built of it."""
        return [*super().get_source_files(), *_data()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that are made."""
        return [*super().get_outputs(include_bytecode), *self._photos()]

    def get_output_mapping(self) -> dict[str, str]:
        """Return what each file that is made is a copy of."""
        return {**super().get_output_mapping(), **self._photos()}

    def _photos(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        return {str(Path(self.build_lib, "featcache", source)): source for source in _data()}


def _data() -> list[str]:
    return sorted(str(path) for pattern in DATA for path in Path().glob(pattern))


setup(cmdclass={"build_py": BuildWithPhotos})
