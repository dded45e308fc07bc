"""How long a newcomer takes: a clean clone to a report; a clean Debian 12 to a thinned ``virsh migrate``."""
