"""The page: a comparison as one self-contained HTML document."""
