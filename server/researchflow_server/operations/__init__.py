"""The FHIR operations over HTTP: `$sql-run` of SQL on FHIR 3.0.0-ballot and `$viewdefinition-run`.

routes.py       the addresses, and who may ask them
endpoint.py     one request from its first byte to its last: deadline, disconnect
answer.py       what is sent, and how an answer is broken off
runs.py         how a subject is run, and how many at once
body.py         what a request carries: Parameters, a bare ViewDefinition, a query string
parameters.py   the parameters of each operation, named and typed
asked.py        a request as one typed value
negotiation.py  `_format` and Accept → a format
subject.py      what runs
inline.py       rows over the resources in the request
stored.py       rows over what is stored: a published view, merged, or the source
library.py      rows of SQL over the published views
sql_parameters.py  values for the parameters of a SQLQuery
filters.py      patient and _since
patients.py     whether the patients named exist
rows.py         open rows, with the date they carry
formats/        one encoder per format
outcome.py      every error as an OperationOutcome
capability.py   CapabilityStatement and OperationDefinitions
"""
