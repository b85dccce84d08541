/*
 * Who takes which external port?
 *
 * Usage:   opte-trace opte-nat
 * Columns: EVENT: alloc, free or exhausted.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-6s %-16s %5s %-16s %5s %-16s %5s\n", "PORT", "EVENT", "PROTO", "LOCAL", "PORT", "EXTERNAL", "PORT", "REMOTE", "PORT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::nat-alloc
{
	printf("%-12s %-9s %-6s %-16s %5d %-16s %5d %-16s %5d\n",
	    opte_port[(opte_port_t *)arg0],
	    "alloc",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_addr[((opte_key_t *)arg1)->local, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->local_port,
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg1)->remote, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->remote_port);
	line++;
}

PROV::nat-free
{
	printf("%-12s %-9s %-6s %-16s %5d %-16s %5d %-16s %5d\n",
	    opte_port[(opte_port_t *)arg0],
	    "free",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    "-",
	    0,
	    opte_addr[((opte_key_t *)arg1)->local, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->local_port,
	    opte_addr[((opte_key_t *)arg1)->remote, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->remote_port);
	line++;
}

PROV::nat-exhausted
{
	printf("%-12s %-9s %-6s %-16s %5d %-16s %5d %-16s %5d\n",
	    opte_port[(opte_port_t *)arg0],
	    "exhausted",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_addr[((opte_key_t *)arg1)->local, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->local_port,
	    "-",
	    0,
	    opte_addr[((opte_key_t *)arg1)->remote, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->remote_port);
	line++;
}

PROV::nat-alloc,
PROV::nat-free,
PROV::nat-exhausted
/line >= 20/
{
	HEAD;
	line = 0;
}
