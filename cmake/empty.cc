// A folder that has only headers, or whose sources are yet to come, is a library all the same.
