/*
 * How do guests' TCP connections change their state?
 *
 * Usage:   opte-trace opte-tcpstate
 * Columns: OLD, NEW: states of the guest's end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%3s %10s  %-16s %5s %-16s %5s %-12s    %s\n", "CPU", "DELTA(us)", "LOCAL", "PORT", "REMOTE", "PORT", "OLD", "NEW")

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
	printf("%3d %10d  %-16s %5d %-16s %5d %-12s -> %s\n",
	    cpu,
	    this->delta,
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port,
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
