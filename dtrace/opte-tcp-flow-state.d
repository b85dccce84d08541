/*
 * How do TCP connections move, and which segments are refused?
 *
 * Usage:   opte-trace opte-tcp-flow-state
 * Columns: OLD, NEW: states, or why a segment is refused.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-16s %5s %-16s %5s %-12s %s\n", "PORT", "DIR", "LOCAL", "PORT", "REMOTE", "PORT", "OLD", "NEW")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::tcp-flow-state
{
	printf("%-12s %-4s %-16s %5d %-16s %5d %-12s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port,
	    opte_state[arg3],
	    opte_state[arg4]);
	line++;
}

PROV::tcp-flow-drop
{
	printf("%-12s %-4s %-16s %5d %-16s %5d %-12s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port,
	    opte_state[arg3],
	    stringof((char *)arg5));
	line++;
}

PROV::tcp-err
{
	printf("%-12s %-4s %-16s %5d %-16s %5d %-12s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port,
	    "-",
	    stringof((char *)arg4));
	line++;
}

PROV::tcp-flow-state,
PROV::tcp-flow-drop,
PROV::tcp-err
/line >= 20/
{
	HEAD;
	line = 0;
}
