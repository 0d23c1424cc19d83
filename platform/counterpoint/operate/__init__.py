"""The command `counterpoint`: run the product's processes, keep it, prove it, move it.

For whoever runs an installation. Each verb is a module; none of them decides who may see what.
"""
