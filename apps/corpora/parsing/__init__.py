"""Reading foreign files in a confined child. It imports no Django and no other code of ours."""
