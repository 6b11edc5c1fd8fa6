"""See the package."""

from cnet.storage.fetch.main import main

raise SystemExit(main())
