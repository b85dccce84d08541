/*
 * Where do frames for groups come from and go, and who listens?
 *
 * Usage:   opte-trace opte-mcast-delivery
 * Columns: EVENT: send, receive, deliver, join, leave, map or unmap; ADDRESS: the underlay group, or of deliver the sender.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-8s %-12s %8s %-24s %s\n", "EVENT", "PORT", "VNI", "GROUP", "ADDRESS")
#define LINE(event, port, vni, group, address) printf("%-8s %-12s %8d %-24s %s\n", event, port, vni, group, address); line++

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::mcast-tx
{
	LINE("send", opte_port[(opte_port_t *)arg0], arg1,
	    (opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family]),
	    opte_ip[(uint8_t *)arg2]);
}

PROV::mcast-rx
{
	LINE("receive", "-", arg1,
	    (opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family]),
	    opte_ip[(uint8_t *)arg2]);
}

PROV::mcast-deliver
{
	LINE("deliver", opte_port[(opte_port_t *)arg0], arg1, opte_ip[(uint8_t *)arg2],
	    opte_ip[(uint8_t *)arg3]);
}

PROV::mcast-member
{
	LINE(arg2 ? "join" : "leave", opte_port[(opte_port_t *)arg0],
	    ((opte_port_t *)arg0)->vni, opte_ip[(uint8_t *)arg1], "-");
}

PROV::mcast-map
/arg2 != 0/
{
	LINE("map", "-", arg0, opte_ip[(uint8_t *)arg1], opte_ip[(uint8_t *)arg2]);
}

PROV::mcast-map
/arg2 == 0/
{
	LINE("unmap", "-", arg0, opte_ip[(uint8_t *)arg1], "-");
}

PROV::mcast-tx,
PROV::mcast-rx,
PROV::mcast-deliver,
PROV::mcast-member,
PROV::mcast-map
/line >= 20/
{
	HEAD;
	line = 0;
}
