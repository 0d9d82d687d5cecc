"""What is wrong with the data of a run, or may be: rules about what a survey knows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmdet_ols.checks.problems import Problems, counted, listed
from mmdet_ols.checks.survey.label_rules import same_meanings
from mmdet_ols.checks.survey.names import near_duplicates
from mmdet_ols.checks.survey.records import DatasetSurvey, SplitSurvey


def judge(surveys: Sequence[SplitSurvey]) -> Problems:
    """Apply every rule to the surveys of a config."""
    problems = same_meanings(surveys)
    for survey in surveys:
        for dataset in survey.datasets:
            problems += _unknown_classes(survey, dataset)
            problems.warnings += _left_out(survey, dataset)
        problems += _something_left(survey)
    problems.warnings += near_duplicates(surveys)
    problems.warnings += _missing_classes(surveys)
    problems.warnings += _same_images(surveys)
    return problems


def _unknown_classes(survey: SplitSurvey, dataset: DatasetSurvey) -> Problems:
    """Objects of classes that the config does not name, which the host leaves out silently."""
    contents, loaded = dataset.contents, dataset.loaded
    if contents is None or loaded is None or not loaded.classes:
        return Problems()
    if 'unknown class' not in contents.objects_left_out:
        return Problems()
    classes = loaded.classes
    unknown = Counter(
        {name: count for name, count in contents.objects.items() if name.strip() not in classes}
    )
    if not unknown:  # only written otherwise, of which `near_duplicates` warns
        return Problems()
    message = (
        f'{contents.sources[0]} ({survey.where(dataset)}) holds {sum(unknown.values())} objects '
        f'of {len(unknown)} classes that `metainfo.classes` of the config does not name: '
        f'{counted(unknown.most_common())}. '
    )
    if len(unknown) == len(contents.objects):
        error = (
            f'{message}It names {listed(classes)}, so nothing is left to learn from: set '
            'metainfo=dict(classes=...) in the data sets and num_classes in the head.'
        )
        return Problems(errors=[error])
    return Problems(warnings=[message + 'They are left out.'])


def _left_out(survey: SplitSurvey, dataset: DatasetSurvey) -> list[str]:
    """What is left out though it may not be meant, and what the files themselves warn of."""
    contents, loaded = dataset.contents, dataset.loaded
    where = survey.where(dataset)
    warnings = [f'{where}: {warning}' for warning in dataset.warnings]
    if contents is None:
        return warnings
    warnings += contents.warnings
    for kind, reasons in (
        ('images', contents.images_left_out),
        ('objects', contents.objects_left_out),
    ):
        warnings += [
            f'{where}: {entry.count} {kind} are left out: {reason} (first: {entry.example}). '
            f'{entry.remedy}'
            for reason, entry in reasons.items()
            if entry.remedy
        ]
    if loaded is None or dataset.is_part or not contents.complete:
        return warnings
    left_out = sum(entry.count for entry in contents.objects_left_out.values())
    rest = sum(contents.objects.values()) - left_out - loaded.total
    if rest > 0:
        warnings.append(
            f'{where}: the files hold {rest} more objects than {dataset.kind} loaded, for a reason '
            'that is not known here.'
        )
    return warnings


def _something_left(survey: SplitSurvey) -> Problems:
    """Whether there is anything to learn from, or to be tested on."""
    loaded = survey.loaded
    if loaded is None or loaded.total or not (loaded.labelled or not loaded.images):
        return Problems()
    where = f'{survey.splits[0]}_dataloader'
    reasons = survey.left_out('objects_left_out')
    why = f' Left out: {counted(reasons.most_common())}.' if reasons else ''
    if not loaded.images:
        what = f'{where}: the data hold no sample.'
    else:
        what = f'{where}: none of its {loaded.images} images has an object that counts.'
    if 'train' in survey.splits:
        error = f'{what}{why} Nothing is left to learn from: correct the data or their config.'
        return Problems(errors=[error])
    if not loaded.images:
        return Problems(errors=[f'{what}{why} Correct the data, or name others in the config.'])
    return Problems(warnings=[f'{what}{why} What is measured there says nothing.'])


def _missing_classes(surveys: Sequence[SplitSurvey]) -> list[str]:
    """Classes that no object teaches, and those that are learned and never tested."""
    present: dict[str, set[str]] = {}
    learned, classes = '', []
    for survey in surveys:
        loaded = survey.loaded
        if loaded is None or not loaded.classes or not loaded.total:
            continue
        present[survey.name] = {loaded.class_name(label) for label in loaded.objects}
        if 'train' in survey.splits:
            learned, classes = survey.name, loaded.classes
    warnings = []
    for name, seen in present.items() if learned else ():
        absent = [each for each in classes if each not in seen]
        if name == learned and absent:
            warnings.append(
                f'train_dataloader: {len(absent)} of {len(classes)} classes have no object to '
                f'learn from: {listed(absent)}.'
            )
        absent = [each for each in absent if each in present[learned]]
        if name != learned and absent:
            warnings.append(
                f'{name}: {len(absent)} of the classes that are learned have no object there: '
                f'{listed(absent)}.'
            )
    return warnings


def _same_images(surveys: Sequence[SplitSurvey]) -> list[str]:
    """Images that are learned from and tested on, be it under another name."""
    contents = {
        path: content
        for survey in surveys
        for dataset in survey.datasets
        for path, content in dataset.fingerprints.items()
    }
    train = next((survey for survey in surveys if 'train' in survey.splits), None)
    if train is None or train.loaded is None:
        return []
    learned = {contents.get(path, path): path for path in train.loaded.paths}
    warnings = []
    for survey in surveys:
        if survey is train or survey.loaded is None:
            continue
        both = [path for path in survey.loaded.paths if contents.get(path, path) in learned]
        if both:
            same = learned[contents.get(both[0], both[0])]
            is_named = both[0] in train.loaded.paths  # maybe next to a copy
            named = both[0] if is_named else f'{both[0]}, which is {same}'
            warnings.append(
                f'{len(both)} of the {survey.loaded.images} images of {survey.name} are images of '
                f'train as well (first: {named}): what is measured on them is too good.'
            )
    return warnings
