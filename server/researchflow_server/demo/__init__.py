"""The main job, shown: a hospital of its own, a server process, and a client that checks it.

    stage.py     embedded services in a fresh directory, filled and materialised; the server
    question.py  the cohort that is asked for, and a patient who will join it
    client.py    the MCP client: calls, and checks of what they answer
    agents.py    the two agents' commands, as processes
    story.py     the steps, in order
    show.py      answers as small tables

Every number shown comes from a tool call, and every claim made of one is checked.
"""
