"""Reading folders of images, one for each class, and lists of images as MMPretrain has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.fileio import list_from_file

from mmdet_ols.checks.survey.records import FileContents

#: Folders that other programs leave behind; those whose name begins with a dot are others.
LITTER = ('__MACOSX', '__pycache__', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'RECYCLER')
#: What images are called that MMPretrain does not read unless it is told to.
OTHER_IMAGES = ('.webp', '.gif', '.tiff', '.jfif', '.avif', '.jp2')
#: What no release of OpenCV reads: the photographs of iPhones.
UNREADABLE = ('.heic', '.heif')


def read_image_folders(dataset: Any) -> FileContents:
    """Read the folders of a data set that takes its classes from them, as MMPretrain does.

    Args:
        dataset: The host's data set, which has not listed the folders yet.
    """
    root = str(dataset.img_prefix)
    contents = class_folders(root)
    if contents.errors:
        return contents
    extensions = tuple(dataset.extensions)
    for name in contents.category_names.values():
        hidden = 0
        for path in _files(os.path.join(root, name), contents):
            file = os.path.relpath(path, root)
            if not path.lower().endswith(extensions):
                _leave_out(contents, file)
                continue
            contents.images += 1
            if not os.path.exists(path):
                contents.leave_out_image('broken link', file, 'Fetch what they link to.')
                continue
            contents.objects[name] += 1
            hidden += any(part.startswith('.') for part in Path(file).parts[1:-1])
        if hidden:
            contents.warnings.append(
                f'{os.path.join(root, name)}: {hidden} of its images lie in hidden folders, and '
                'count as images of the class all the same. Remove those folders.'
            )
    remedy = 'Move them into the folder of their class.'
    for item in sorted(Path(root).iterdir()):
        is_image = item.name.lower().endswith(extensions) and not item.name.startswith('.')
        if is_image and item.is_file():
            contents.images += 1
            contents.leave_out_image('outside the classes', item.name, remedy)
    return contents


def class_folders(root: str) -> FileContents:
    """Read which folders the host will take for classes, in its order, but nothing in them."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    contents = FileContents(category_names=dict(enumerate(names)), sources=[root])
    litter = [name for name in names if name.startswith('.') or name in LITTER]
    if litter:
        contents.errors.append(
            f'{root} holds the folder {", ".join(litter)}, which is no class, but which MMPretrain '
            f'numbers among the classes ({", ".join(names[:4])}, ...), so that all labels move: '
            'remove it, and leave the number of classes as it is.'
        )
    return contents


def read_image_list(dataset: Any) -> FileContents:
    """Read the list of a data set whose lines name an image and the number of its class.

    Args:
        dataset: The host's data set, which has not read the list yet.
    """
    path = str(dataset.ann_file)
    contents = FileContents(sources=[path])
    classes = [str(name) for name in dataset.metainfo.get('classes') or ()]
    try:
        lines = [line.strip() for line in list_from_file(path)]
    except UnicodeDecodeError as error:
        contents.errors.append(f'{path} must be in UTF-8, but {error}: save it as UTF-8.')
        return contents
    contents.images = len(lines)
    class_of: dict[str, str] = {}
    several: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        file, blank, label = line.rpartition(' ')
        if not line or not blank:
            contents.errors.append(
                f'{path}, line {number}: it must hold an image and the number of its class, with '
                f'a blank between, but holds {line!r}.'
            )
            break
        if file.startswith('\ufeff'):
            contents.errors.append(
                f'{path} begins with a byte order mark, which the host takes for a part of the '
                'first name: save it as UTF-8 without one.'
            )
        try:
            index = int(label)
        except ValueError:
            contents.errors.append(
                f'{path} cannot be read: a line must end with the number of the class, from 0 on, '
                f'but line {number} ends with {label!r}.'
            )
            break
        name = classes[index] if 0 <= index < len(classes) else f'label {index}'
        contents.objects[name] += 1
        other = class_of.setdefault(file, name)
        if other != name:
            several.setdefault(file, f'{file} is {other} and {name}')
    if several:
        contents.warnings.append(
            f'{path} gives {len(several)} images more than one class (first: '
            f'{next(iter(several.values()))}): keep the lines with the right class.'
        )
    return contents


def _files(folder: str, contents: FileContents) -> Iterator[str]:
    """Every file of a folder that the host lists, however deep, and links to no file."""
    contents.sources.append(folder)
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(entry.path, contents)
        elif not entry.name.startswith('.'):
            yield entry.path


def _leave_out(contents: FileContents, file: str) -> None:
    suffix = Path(file).suffix.lower()
    if suffix in (*OTHER_IMAGES, *UNREADABLE):
        contents.images += 1
        remedy = f"Add '{suffix}' to `extensions` of the data set, or convert them."
        if suffix in UNREADABLE:
            remedy = 'Convert them to JPEG, since OpenCV cannot read them.'
        contents.leave_out_image(f'{suffix} file', file, remedy)
