"""What calls us: the subscription of a FHIR server.

delivery.py    what one request says, read from its method, path, headers and body
bundle.py      what a Bundle of a notification or transaction says
gate.py        who may deliver, and how much
body.py        the body of a delivery, bounded in size and time
intake.py      deliveries taken together, in bounded number, each answered when it is durable
refused.py     dead letters of what could not be taken
endpoint.py    the address itself: a status for each request
registration.py  the Subscription on the FHIR server, made, checked and removed over REST
"""
