/*
 * How do guests' SCTP associations change their state?
 *
 * Usage:   opte-trace opte-sctpstate
 * Columns: DELTA: since the association's last change; OLD, NEW: states of the guest's end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

unsigned long long sctp_changed[unsigned long long, unsigned long long];

#define HEAD printf("%3s %10s  %-16s %5s %-16s %5s %-12s    %s\n", "CPU", "DELTA(us)", "LOCAL", "PORT", "REMOTE", "PORT", "OLD", "NEW")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::sctp-state-change
{
	this->since = sctp_changed[arg0, ((opte_packet_t *)arg1)->flow_id];
	printf("%3d %10s  %-16s %5d %-16s %5d %-12s -> %s\n",
	    cpu,
	    this->since == 0 ? "-" : lltostr((timestamp - this->since) / 1000),
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port,
	    opte_state[arg2],
	    opte_state[((opte_packet_t *)arg1)->state]);
	sctp_changed[arg0, ((opte_packet_t *)arg1)->flow_id] = timestamp;
	line++;
}

/* One that has ended needs no memory. */
PROV::sctp-state-change
/((opte_packet_t *)arg1)->state == 0 || ((opte_packet_t *)arg1)->state >= 10/
{
	sctp_changed[arg0, ((opte_packet_t *)arg1)->flow_id] = 0;
}

PROV::sctp-state-change
/line >= 20/
{
	HEAD;
	line = 0;
}
