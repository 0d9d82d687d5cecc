"""What a survey of the data knows: the contents of the files, and what the host made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class LeftOut:
    """Images or objects that lie in the files, but that the network never sees, for one reason.

    Attributes:
        count: How many there are.
        example: Where the first one stands, as in `Annotations/a.xml, object 3`.
        remedy: What to do if it was not meant. Empty where it is the usual way of things, such as
            objects marked as difficult: those stand in the table, and no warning names them.
    """

    count: int = 0
    example: str = ''
    remedy: str = ''


@dataclass
class FileContents:
    """What the files of one data set say, before the host leaves anything out.

    A reader of one file format fills it in, and says for each object and image at most once why it
    will be left out. What is read counts whatever the host does with it, so that the difference can
    be named.

    Attributes:
        images: How many images the files name.
        objects: How many objects there are of each class, by the names that the files give them;
            for classifiers, the images of each class.
        objects_left_out: By the reason in two or three words, as in 'unknown class'.
        images_left_out: In the same way, as in 'no object'.
        category_names: By the numbers that the files give to their classes, if they do, as COCO's
            categories and the folders of a classifier (see `category_number`).
        complete: Whether every reason for which this host leaves something out is known here, so
            that a rest is worth a warning.
        warnings: What may be wrong, in whole sentences that name file, rule and remedy.
        errors: What cannot be right, in the same way.
        sources: Every file and folder that was read, or looked for in vain. A kept survey is used
            again as long as their sizes and times of change are the same.
    """

    images: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    objects_left_out: dict[str, LeftOut] = field(default_factory=dict)
    images_left_out: dict[str, LeftOut] = field(default_factory=dict)
    category_names: dict[int | str, str] = field(default_factory=dict)
    complete: bool = True
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def leave_out_object(self, reason: str, example: str, remedy: str = '') -> None:
        """Count one more object that the network will not see."""
        _count(self.objects_left_out, reason, example, remedy)

    def leave_out_image(self, reason: str, example: str, remedy: str = '') -> None:
        """Count one more image that the network will not see."""
        _count(self.images_left_out, reason, example, remedy)


@dataclass
class Loaded:
    """What the host's own data set loaded.

    Attributes:
        images: How many images there are, each counted once however often an epoch repeats it.
        epoch: How many images an epoch has.
        objects: The number of objects of each label that the network learns from; for classifiers,
            the images of each label.
        ignored: The number of objects that are loaded, but teach nothing (difficult, crowds, and
            those below `bbox_min_size`).
        labelled: Whether the images have labels of a kind that is known here.
        classes: The names that the host gives to the labels: `metainfo.classes`.
        category_ids: By label, the number of the class in the files, if they number their classes.
        paths: The files of the images; empty where they are not files, or too many to be listed.
    """

    images: int = 0
    epoch: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    ignored: int = 0
    labelled: bool = False
    classes: list[str] = field(default_factory=list)
    category_ids: list[int | str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The number of all objects that the network learns from."""
        return sum(self.objects.values())

    def class_name(self, label: int) -> str:
        """The name under which the network learns a label."""
        return self.classes[label] if label < len(self.classes) else f'label {label}'


@dataclass
class DatasetSurvey:
    """One innermost data set of a split, as its files and as the host have it.

    Attributes:
        kind: The name of its class.
        contents: What its files say; None if their format is not known here.
        loaded: What the host loaded; None if it was not asked.
        is_part: Whether the config takes only a part of it (`indices`).
        named: The classes that its config or its class names, where nothing is loaded.
        fingerprints: What tells the content of an image file from others, by its path.
        warnings: What may be wrong with its images.
        note: Why something is not known, for the table.
    """

    kind: str
    contents: FileContents | None = None
    loaded: Loaded | None = None
    is_part: bool = False
    named: list[str] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    note: str = ''

    @property
    def classes(self) -> list[str]:
        """The names of its labels."""
        return self.loaded.classes if self.loaded else self.named

    @property
    def label_names(self) -> list[str]:
        """What label 0, 1, ... means by the files; empty if they do not number their classes."""
        names = self.contents.category_names if self.contents else {}
        if not names:
            return []
        ids = self.loaded.category_ids if self.loaded else list(names)
        return [names.get(number, '?') for number in ids]

    @property
    def meanings(self) -> list[str]:
        """What label 0, 1, ... means: by the files, or else by the config."""
        return self.label_names or self.classes


@dataclass
class SplitSurvey:
    """All data sets of one or more splits whose configs differ at most in their pipelines.

    Attributes:
        splits: Of 'train', 'val' and 'test'.
        datasets: The innermost ones, in order.
        loaded: What the outermost one gives to the network, wrappers included; None if unknown.
        notes: What wrappers do, for the table.
    """

    splits: list[str]
    datasets: list[DatasetSurvey] = field(default_factory=list)
    loaded: Loaded | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return ', '.join(self.splits)

    def left_out(self, kind: str) -> Counter[str]:
        """How many are left out for each reason; 'objects_left_out' or 'images_left_out'."""
        reasons: Counter[str] = Counter()
        for dataset in self.datasets:
            for reason, entry in getattr(dataset.contents, kind, {}).items():
                reasons[reason] += entry.count
        return reasons

    def where(self, dataset: DatasetSurvey) -> str:
        """What to call one of its data sets in a message."""
        return f'{self.splits[0]}_dataloader, {dataset.kind}'


def category_number(value: Any) -> int | str:
    """The number of a class in a file in one form, since exporters write 7, 7.0 and '7'."""
    try:
        return int(value)
    except ValueError:  # a name
        return str(value)


def _count(reasons: dict[str, LeftOut], reason: str, example: str, remedy: str) -> None:
    kept = reasons.setdefault(reason, LeftOut(0, example, remedy))
    kept.count += 1
