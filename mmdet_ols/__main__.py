"""`python -m mmdet_ols`: the same as the command `mmdet-ols`."""

from mmdet_ols.cli.main import main

if __name__ == '__main__':
    main()
