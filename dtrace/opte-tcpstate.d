/*
 * How do guests' TCP connections change their state?
 *
 * Usage:   opte-trace opte-tcpstate
 * Columns: DELTA: since the connection's last change; OLD, NEW: states of the guest's end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

unsigned long long tcp_changed[unsigned long long, unsigned long long];

#define HEAD printf("%3s %10s  %-16s %5s %-16s %5s %-12s    %s\n", "CPU", "DELTA(us)", "LOCAL", "PORT", "REMOTE", "PORT", "OLD", "NEW")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::tcp-state-change
{
	this->since = tcp_changed[arg0, ((opte_packet_t *)arg1)->flow_id];
	printf("%3d %10s  %-16s %5d %-16s %5d %-12s -> %s\n",
	    cpu,
	    this->since == 0 ? "-" : lltostr((timestamp - this->since) / 1000),
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port,
	    opte_state[arg2],
	    opte_state[((opte_packet_t *)arg1)->state]);
	tcp_changed[arg0, ((opte_packet_t *)arg1)->flow_id] = timestamp;
	line++;
}

/* One that has ended needs no memory. */
PROV::tcp-state-change
/((opte_packet_t *)arg1)->state == 0 || ((opte_packet_t *)arg1)->state >= 10/
{
	tcp_changed[arg0, ((opte_packet_t *)arg1)->flow_id] = 0;
}

PROV::tcp-state-change
/line >= 20/
{
	HEAD;
	line = 0;
}
