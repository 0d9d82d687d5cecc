"""One HTML page about a run: how it went, what it confuses, and which labels look wrong.

`record.py` reads the work directory once; each of the other modules makes one part of the page
from that record, and `page.py` puts them together.
"""

from mmdet_ols.analysis.report.page import PAGE, write_report
from mmdet_ols.analysis.report.table import TABLE

__all__ = ['PAGE', 'TABLE', 'write_report']
