"""``runvm``: boot an image, run commands, shut it down; a front door for those who come from MariaDB's tool."""
