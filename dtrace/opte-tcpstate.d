/*
 * How do guests' TCP connections change their state?
 *
 * Usage:   opte-trace opte-tcpstate
 * Columns: OLD, NEW: states of the guest's end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%3s %10s  %-22s %-22s %-12s    %s\n", "CPU", "DELTA(us)", "LOCAL", "REMOTE", "OLD", "NEW")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
	last = timestamp;
}

PROV::tcp-state-change
{
	this->delta = (timestamp - last) / 1000;
	last = timestamp;
	printf("%3d %10d  %-22s %-22s %-12s -> %s\n",
	    cpu,
	    this->delta,
	    opte_local[&((opte_packet_t *)arg1)->key],
	    opte_remote[&((opte_packet_t *)arg1)->key],
	    opte_state[arg2],
	    opte_state[((opte_packet_t *)arg1)->state]);
	line++;
}

PROV::tcp-state-change
/line >= 20/
{
	HEAD;
	line = 0;
}
