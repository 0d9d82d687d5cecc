"""The files of a folder in VOC's layout: which images a list names, and where their files lie."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.datasets.text_files import decode_text
from mmdet_ols.datasets.voc_annotations import VOCAnnotation, read_annotation

LAYOUT = """ROOT/
  Annotations/NAME.xml
  ImageSets/Main/SPLIT.txt   (one NAME a line)
  JPEGImages/NAME.jpg"""
#: In the order in which one is taken where several images have the same name. OpenCV reads the last
#: ones in some releases or not at all, which is another matter than a file that is not there.
IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.jp2', '.ppm', '.pgm'),
    *('.gif', '.avif', '.heic', '.heif'),
)
#: How many missing files a message lists.
LISTED = 10


class SplitImage(NamedTuple):
    """An image that a list names.

    Attributes:
        name: The image's name: that of its annotation below the folder of annotations, without
            the extension.
        annotation: The path of the annotation.
        image: The path of the image; None if there is none of that name.
    """

    name: str
    annotation: str
    image: str | None


class VOCFolder:
    """A folder in VOC's layout, which finds annotations and images by the names that lists give.

    Names may have an extension, folders in front of them, or further columns behind; images may
    have any usual extension, in capital letters, too. What the exact path does not find is looked
    for in all sub-folders, without hidden files (such as those that a Mac leaves in archives).

    Args:
        root: What holds the folders of annotations and images.
        ann_subdir: The folder of the annotations below it.
        img_subdir: The folder of the images below it.
    """

    def __init__(
        self, root: str, ann_subdir: str = 'Annotations', img_subdir: str = 'JPEGImages'
    ) -> None:
        self.annotations = os.path.join(root, ann_subdir)
        self.images = os.path.join(root, img_subdir)
        self._prefixes = [f'{folder}/' for folder in (ann_subdir, img_subdir) if folder]
        self._indices: dict[str, _Index] = {}

    def read_split(self, list_path: str | Path) -> tuple[list[SplitImage], list[str]]:
        """Find the files of every line of a list.

        Returns:
            The images, in order, and the lines for which there is no annotation, or several.

        Raises:
            ValueError: The list names nothing, or is not text.
        """
        images, missing = [], []
        owners: dict[str | None, str] = {}
        for line in list_lines(list_path):
            try:
                entry = self.find(line)
            except LookupError as error:
                if not line.startswith('#'):  # a comment
                    missing.append(f'{line!r} ({error.args[0]})')
                continue
            owner = owners.setdefault(entry.image, entry.annotation)
            if entry.image and owner != entry.annotation:
                missing.append(f'{line!r} ({entry.image} has the annotation {owner} already)')
                continue
            images.append(entry)
        return images, missing

    def find(self, line: str) -> SplitImage:
        """Find the annotation and the image of one line of a list.

        Raises:
            LookupError: There is no annotation for it, or there are several; the message says so.
        """
        for name, suffix in readings(line.strip('\ufeff \t'), self._prefixes):
            path = os.path.join(self.annotations, f'{name}.xml')
            if not os.path.isfile(path):
                inside = self._index(self.annotations).find(name, ('.xml',))
                if inside is None:
                    continue
                path = os.path.join(self.annotations, inside)
                name = inside[: -len('.xml')]
            return SplitImage(name, path, self.find_image(name, suffix))
        raise LookupError('no annotation of this name')

    def find_image(self, name: str, suffix: str = '') -> str | None:
        """Find the image of a name.

        Args:
            name: As in `SplitImage`.
            suffix: The extension to prefer.
        """
        path = os.path.join(self.images, f'{name}{suffix or ".jpg"}')
        if os.path.isfile(path):
            return path
        inside = self._index(self.images).find(name, IMAGE_SUFFIXES)
        if inside is None and Path(name).suffix.lower() in IMAGE_SUFFIXES:  # a.jpg of a.jpg.xml
            inside = self._index(self.images).find(os.path.splitext(name)[0], IMAGE_SUFFIXES)
        return None if inside is None else os.path.join(self.images, inside)

    def all_annotations(self) -> list[str]:
        """The paths of all annotations, those in sub-folders included, in order."""
        paths = self._index(self.annotations).paths
        return [os.path.join(self.annotations, path) for path in paths if is_xml(path)]

    def _index(self, folder: str) -> _Index:
        if folder not in self._indices:
            self._indices[folder] = _Index(folder)
        return self._indices[folder]


class _Index:
    """All files below a folder, by their names without extension.

    Letters count alike in both cases and Unicode forms: file systems differ in them.
    """

    def __init__(self, folder: str) -> None:
        self.paths = sorted(_visible_files(folder))
        self._by_path: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for path in self.paths:
            key = _key(os.path.splitext(path)[0])
            self._by_path.setdefault(key, []).append(path)
            self._by_name.setdefault(key.rpartition('/')[2], []).append(path)

    def find(self, name: str, suffixes: Sequence[str]) -> str | None:
        """Find the file of this name, below this path or else in any sub-folder.

        Raises:
            LookupError: Sub-folders hold several files of this name.
        """
        key = _key(name)
        same_path = _with_suffix(self._by_path.get(key, ()), suffixes)
        if same_path:
            return min(same_path, key=lambda path: _rank(path, name, suffixes))
        folders, _, last = key.rpartition('/')
        same_name = [
            path
            for path in _with_suffix(self._by_name.get(last, ()), suffixes)
            if not folders or f'/{folders}'.endswith(f'/{_key(os.path.dirname(path))}'.rstrip('/'))
        ]
        if len({os.path.splitext(path)[0] for path in same_name}) > 1:
            raise LookupError(f'several files of this name: {", ".join(same_name[:3])}')
        return min(same_name, key=lambda path: _rank(path, name, suffixes), default=None)


def locate_image(entry: SplitImage, annotation: VOCAnnotation, folder: VOCFolder) -> str:
    """The image of an annotation: of the same name, or else of the name that its XML gives.

    Raises:
        FileNotFoundError: There is none.
    """
    path = entry.image
    if path is None and annotation.filename:
        path = folder.find_image(annotation.filename.replace('\\', '/'))
    if path is None:
        raise FileNotFoundError(
            f'{entry.annotation} has no image: neither {entry.name}.jpg (or .png and so on) nor '
            f'its <filename> {annotation.filename!r} lies in {folder.images}. Put it there, or '
            f'remove {entry.name} from the split.'
        )
    return path


def list_lines(path: str | Path) -> list[str]:
    """Read the lines of a list that are not empty, without blanks around them.

    Raises:
        ValueError: It has none, or is not text.
    """
    try:
        text = decode_text(Path(path).read_bytes()).text
    except ValueError as error:
        raise ValueError(
            f'The split {path} cannot be read, since {error} It must hold one image name a line.'
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f'The split {path} is empty: it must hold one image name a line.')
    return lines


def readings(line: str, prefixes: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """What a line of a list may mean: a name, and the image's extension if the line has one.

    The whole line comes first, since names may hold blanks; then its first column, and all but its
    last one.

    Args:
        line: The line.
        prefixes: Folders with a slash at their end, which may stand in front of the name.
    """
    whole = line.strip('\'"')
    columns = [re.split(r'[\s,;]', whole, maxsplit=1)[0], re.split(r'[\s,;]+(?=\S*$)', whole)[0]]
    for text in dict.fromkeys([whole, *columns]):
        path = text.replace('\\', '/').strip()
        while path.startswith('./'):
            path = path[2:]
        inside = [
            path.rpartition(f'/{prefix}')[2] if f'/{prefix}' in path else path[len(prefix) :]
            for prefix in prefixes
            if f'/{prefix}' in path or path.startswith(prefix)
        ]
        for name in (path, *inside):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in (*IMAGE_SUFFIXES, '.xml'):
                yield name, ''
                yield stem.lstrip('/'), '' if suffix.lower() == '.xml' else suffix
            elif name:
                yield name, ''


def voc_classes(root: str | Path) -> tuple[str, ...]:
    """Read the class names from all annotations of a folder in VOC's layout, in alphabetical order.

    Names are cleaned of blanks around them. Hidden files are passed over.

    Args:
        root: The folder that holds Annotations.

    Raises:
        FileNotFoundError: `root` holds no annotations.
        ValueError: An annotation file is broken, or none holds an object.
    """
    files = VOCFolder(str(root)).all_annotations()
    if not files:
        raise no_annotations(root)
    names = tuple(sorted(count_classes(files)))
    if not names:
        raise ValueError(f'No object in any of the {len(files)} annotation files of {root}.')
    return names


def no_annotations(root: str | Path, ann_subdir: str = 'Annotations') -> FileNotFoundError:
    """The error for a folder without annotations, which says what it holds instead."""
    if Path(root).is_dir():
        content = sorted(path.name for path in Path(root).glob('*'))[:LISTED]
        problem = f'{root} holds {content}.'
    else:
        problem = f'{root} does not exist.'
    return FileNotFoundError(
        f'No annotations in {Path(root, ann_subdir)}: expected this layout\n{LAYOUT}\nbut {problem}'
    )


def count_classes(paths: Iterable[str]) -> Counter[str]:
    """Count the objects of each class in annotation files.

    Raises:
        ValueError: Files are broken; the message names them all, up to ten.
    """
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for path in paths:
        try:
            counts += read_annotation(path).count_names()
        except ValueError as error:
            problems.append(str(error))
    raise_problems(problems)
    return counts


def raise_problems(problems: Sequence[str]) -> None:
    """Raise the problems of many files as one error.

    Raises:
        ValueError: There are problems; the message has the first ten of them.
    """
    if problems:
        raise ValueError('\n'.join(shortened(problems)))


def shortened(items: Sequence[str]) -> list[str]:
    """The first ten items, and how many more there are."""
    more = len(items) - LISTED
    return [*items[:LISTED], *([f'and {more} more'] if more > 0 else [])]


def is_xml(path: str) -> bool:
    """Whether a path has the extension of annotations."""
    return path.lower().endswith('.xml')


def _visible_files(folder: str) -> Iterator[str]:
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith('.') and name != '__MACOSX']
        inside = os.path.relpath(place, folder)
        for name in files:
            if not name.startswith('.'):
                yield name if inside == '.' else f'{inside}/{name}'.replace(os.sep, '/')


def _key(path: str) -> str:
    return unicodedata.normalize('NFC', path).casefold()


def _with_suffix(paths: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    return [path for path in paths if os.path.splitext(path)[1].lower() in suffixes]


def _rank(path: str, name: str, suffixes: Sequence[str]) -> tuple[bool, int, str]:
    """Which of several files to take: of exactly this name, of the first extension."""
    stem, suffix = os.path.splitext(path)
    return stem != name, suffixes.index(suffix.lower()), path
