"""python -m wvc"""

from wvc.main import main

if __name__ == "__main__":
    main()
