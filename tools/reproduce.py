"""Make the paper's tables: plan their runs, run them, see how far they are, write the page."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('reproduce')
