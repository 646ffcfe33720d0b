"""The daemon on each host: sources in, kernel maps out, and the answers to who asks over its socket."""
