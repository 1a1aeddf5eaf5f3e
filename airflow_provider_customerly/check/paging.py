"""Judge how lists are paged and ordered."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.check.inquiry import FAR_PAGE, SIZE
from airflow_provider_customerly.check.judgement import Judgement, failure
from airflow_provider_customerly.client import CustomerlyProtocolError
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.check.inquiry import Observed, Page

_NO_PAGE = Judgement("not checked", "No page could be read.")


def envelope(seen: Observed) -> Judgement:
    """Judge whether pages have the expected shape."""
    if seen.first is None:
        return _NO_PAGE
    if seen.first.error is None:
        return Judgement("holds", f"The first page has {count(len(seen.first.rows), 'contact')}.")
    if isinstance(seen.first.error, CustomerlyProtocolError):
        return Judgement("differs", str(seen.first.error))
    return Judgement("not checked", f"The first page {failure(seen.first.error)}.")


def page_from_0(seen: Observed) -> Judgement:
    """Judge whether page 0 is the first and page 1 the second."""
    first, second = seen.first, seen.second
    if first is None or second is None or second.error:
        return _NO_PAGE
    if not first.rows:
        if second.rows:
            return Judgement("differs", "Page 0 is empty and page 1 is not.")
        return Judgement("not checked", "There are no users.")
    if not second.rows:
        return Judgement("holds", "Page 0 holds contacts and page 1 is empty.")
    boundary = first.stamps[-1]  # contacts that share it may be on either page
    inside = {id for id, stamp in zip(first.ids, first.stamps, strict=True) if stamp != boundary}
    if not inside:
        return Judgement("not checked", "All contacts of page 0 share one last_update.")
    again = len(inside & set(second.ids))
    if 2 * again >= len(inside):
        return Judgement("differs", f"Page 1 repeats {again} of the {len(first.rows)} contacts of page 0.")
    return Judgement("holds", f"Page 1 repeats {again or 'none'} of the contacts of page 0.")


def page_size(seen: Observed) -> Judgement:
    """Judge whether a page of 100 holds 100."""
    first, second, newest = seen.first, seen.second, seen.newest
    if first is None or first.error or second is None:
        return _NO_PAGE
    if seen.full > SIZE:
        return Judgement("differs", f"A page of {SIZE} holds {seen.full}.")
    if seen.full == SIZE:
        return Judgement("holds", f"A page of {SIZE} holds {SIZE}.")
    hidden = newest is not None and not set(newest.ids) <= {*first.ids, *second.ids}
    if not second.rows and not hidden:
        return Judgement("not checked", f"There are fewer: {count(len(first.rows), 'user')}.")
    sizes = {len(page.rows) for page in (first, newest) if page is not None and not page.error}
    if len(sizes) > 1 or len(second.rows) > seen.full:
        return Judgement("not checked", f"Pages of {SIZE} hold from {min(sizes)} to {max(sizes)} contacts.")
    return Judgement("differs", f"A page of {SIZE} holds {seen.full}, and there are more contacts.")


def ascending(seen: Observed) -> Judgement:
    """Judge the ascending order, on which exports depend."""
    pages = [page for page in (seen.first, seen.second) if page is not None and page.rows]
    return _order(pages, descending=False)


def descending(seen: Observed) -> Judgement:
    """Judge the descending order."""
    return _order([] if seen.newest is None or not seen.newest.rows else [seen.newest], descending=True)


def _order(pages: list[Page], *, descending: bool) -> Judgement:
    if not pages:
        return _NO_PAGE
    broken = 0
    for page in pages:
        stamps = page.stamps[::-1] if descending else page.stamps
        broken += sum(after < before for before, after in pairwise(stamps))
    rows = sum(len(page.rows) for page in pages)
    if broken:
        return Judgement("differs", f"{broken} of {count(rows, 'contact')} are out of order.")
    if len({stamp for page in pages for stamp in page.stamps}) < 2:
        return Judgement("not checked", "All contacts seen have the same last_update.")
    return Judgement("holds", f"{rows} contacts are in order.")


def equal_stamps(seen: Observed) -> Judgement:
    """Judge whether contacts with the same ``last_update`` came twice in the same order."""
    if seen.repeated is None or any(page.error for page in seen.repeated):
        return Judgement("not checked", "No contacts with the same last_update were seen.")
    before, after = (_groups(page) for page in seen.repeated)
    compared = moved = 0
    for stamp, ids in before.items():
        others = after.get(stamp, [])
        if len(ids) < 2 or len(others) < 2:
            continue
        compared += 1
        moved += [id for id in ids if id in others] != [id for id in others if id in ids] or not (
            set(ids) & set(others)
        )
    if not compared:
        return Judgement("not checked", "These contacts changed in the meantime.")
    groups = count(compared, "group")
    if moved:
        return Judgement("differs", f"{moved} of {groups} with equal timestamps came back in another order.")
    return Judgement(
        "holds", f"{groups} with equal timestamps came twice in the same order, which is no proof."
    )


def end_is_empty(seen: Observed) -> Judgement:
    """Judge a page far beyond the end."""
    far = seen.far
    if far is None or seen.first is None or not seen.first.rows:
        return _NO_PAGE
    if far.error is not None:
        return Judgement("differs", f"Page {FAR_PAGE} {failure(far.error)}.")
    if not far.rows:
        return Judgement("holds", f"Page {FAR_PAGE} is an empty list.")
    if set(far.ids) & {id for page in seen.pages for id in page.ids} or len(far.rows) < seen.full:
        return Judgement("differs", f"Page {FAR_PAGE} repeats contacts of another page.")
    return Judgement("not checked", f"The list has more than {FAR_PAGE} pages, or repeats its last one.")


def short_page_is_last(seen: Observed) -> Judgement:
    """Judge whether a page that is not full is the last."""
    if seen.end is None:
        return Judgement("not checked", "No partly filled page was found within the allowed requests.")
    page, behind = seen.end
    what = f"page {page.number} holds {len(page.rows)} of the {SIZE} requested"
    if behind.rows and set(behind.ids) <= set(page.ids):
        return Judgement("not checked", f"The page after page {page.number} repeats it.")
    if behind.rows:
        return Judgement("differs", f"Before the end, {what}.")
    if seen.newest is not None and page.number == 0 and not set(seen.newest.ids) <= set(page.ids):
        return Judgement("differs", f"Before the end, {what}: the descending list shows other contacts.")
    if behind.error is not None:
        return Judgement("not checked", f"The page after it {failure(behind.error)}.")
    return Judgement("holds", f"At the end, {what}, and page {behind.number} is empty.")


def _groups(page: Page) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for id, stamp in zip(page.ids, page.stamps, strict=True):
        groups[stamp].append(id)
    return groups
