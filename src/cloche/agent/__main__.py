"""``python -m cloche.agent``: how the agent is started when it is detached."""

from cloche.agent.main import command

if __name__ == "__main__":
    command()
