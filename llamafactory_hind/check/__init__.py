"""`llamafactory-cli check`: everything that can be known wrong before a GPU hour or an API call is spent.

`command` reads the words, `training`, `synthesis` and `scoring` look at one kind of configuration each, with the code that the
run itself uses; `surroundings` looks at packages, disk, output and servers; `findings` collects and prints.
"""
