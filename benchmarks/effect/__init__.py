"""From a change of policy to the first packet judged by it, on live connections, by a real agent."""
