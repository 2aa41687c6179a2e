"""The protocol: the server over one runtime, its middleware, the views as resources."""
