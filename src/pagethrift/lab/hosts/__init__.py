"""Two hosts on one machine: namespaces, their network, the processes in them."""
