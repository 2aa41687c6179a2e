"""The agents: each one job, a typed input, a typed output, data only through the MCP tools.

One sub-package an agent, with the same parts: its typed input, the coroutine that does the job, its
result, and `__main__`, its command. What all of them use lies beside them:

    errors.py    the one error an agent raises
    session.py   one connection to an MCP server, which may break
    client.py    the tools as typed calls, with bounded retries
    command.py   how a command reads its arguments and how it ends

Of the product an agent imports `researchflow_server.contract` and nothing else.
"""
