import os
import sys

port = 8000
if "--port" in sys.argv:
    port = sys.argv[sys.argv.index("--port") + 1]

os.system(f"{sys.executable} -m http.server {port}")
