/*
 * Who takes which external port?
 *
 * Usage:   opte-trace opte-nat
 * Columns: EVENT: alloc, free or exhausted.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-6s %-22s %-22s %s\n", "PORT", "EVENT", "PROTO", "LOCAL", "EXTERNAL", "REMOTE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::nat-alloc
{
	printf("%-12s %-9s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    "alloc",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_local[(opte_key_t *)arg1],
	    opte_local[(opte_key_t *)arg2],
	    opte_remote[(opte_key_t *)arg1]);
	line++;
}

PROV::nat-free
{
	printf("%-12s %-9s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    "free",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    "-",
	    opte_local[(opte_key_t *)arg1],
	    opte_remote[(opte_key_t *)arg1]);
	line++;
}

PROV::nat-exhausted
{
	printf("%-12s %-9s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    "exhausted",
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_local[(opte_key_t *)arg1],
	    "-",
	    opte_remote[(opte_key_t *)arg1]);
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
