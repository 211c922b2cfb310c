"""nginx as a reverse proxy: what moving the bytes costs, without a look at them."""

from __future__ import annotations

import shutil
import subprocess

from loadtests.peers.base import Setup, Site
from loadtests.server import Launch

_CONFIG = """\
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  keepalive_requests 1000000000;
  upstream fake {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://fake;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
"""Relative paths lie in the peer's folder. Connections are kept for as many requests as come over them."""


class Nginx:
    """A master and one worker; answers are passed on as they come, connections to both sides stay open."""

    name = "nginx"
    note = "one worker, proxy_pass over kept connections, proxy_buffering off, access_log off"

    def absent(self) -> str | None:
        """Needs the system's package."""
        return None if _program() else "no nginx on PATH (Debian: the package nginx-light; it lies in /usr/sbin)"

    def version(self) -> str:
        """What it says itself, on stderr: `nginx version: nginx/1.22.1`."""
        said = subprocess.run([str(_program()), "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]

    def setup(self, site: Site) -> Setup:
        """Errors go to `error.log` from the start, as the file compiled in may be out of reach."""
        config = site.folder / "nginx.conf"
        config.write_text(_CONFIG.format(port=site.port, upstream=site.upstream))
        argv = (str(_program()), "-p", f"{site.folder}/", "-e", "error.log", "-c", str(config))
        return Setup(Launch(argv, f"http://127.0.0.1:{site.port}/health", {}), site.port)


def _program() -> str | None:
    return shutil.which("nginx")
