"""The tasks that come with vmtasks (images, vm, doctor), and the tables that they print."""
