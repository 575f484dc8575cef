"""`/admin`: what the commands do, over HTTP, for admins and for the operators of a tenant."""
