"""Train and test methods with the same seeds, and compare what they reach."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('compare')
