/*
 * Which IP packets do guests send and get?
 *
 * Usage:   opte-trace opte-ipio
 * Columns: -> is from the guest, <- for it; the left address is the guest's; INT: the port; BYTES behind the IP header.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%3s %10s %18s    %-18s %8s %6s\n", "CPU", "DELTA(us)", "SOURCE", "DEST", "INT", "BYTES")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
	last = timestamp;
}

PROV::ip-send
{
	this->delta = (timestamp - last) / 1000;
	last = timestamp;
	printf("%3d %10d %18s %s %-18s %8s %6d\n",
	    cpu,
	    this->delta,
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_saddr,
	    "->",
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_daddr,
	    opte_port[(opte_port_t *)arg0],
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_plength);
	line++;
}

PROV::ip-receive
{
	this->delta = (timestamp - last) / 1000;
	last = timestamp;
	printf("%3d %10d %18s %s %-18s %8s %6d\n",
	    cpu,
	    this->delta,
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_daddr,
	    "<-",
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_saddr,
	    opte_port[(opte_port_t *)arg0],
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_plength);
	line++;
}

PROV::ip-send,
PROV::ip-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
