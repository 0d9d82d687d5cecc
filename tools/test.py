"""Test a trained detector or classifier."""

from mmdet_ols.cli.test import main

if __name__ == '__main__':
    main()
