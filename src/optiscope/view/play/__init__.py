"""The playground: a page in the browser whose pictures answer while one drags, and the local server behind it.

The server remembers nothing between requests but what it has compiled. Each request says the whole of what is wanted,
the library's own rules compute it, and the page draws.
"""

from .server import serve
