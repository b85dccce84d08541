/*
 * Which TCP segments do guests send and get?
 *
 * Usage:   opte-trace opte-tcpio
 * Columns: BYTES of data; -> is from the guest, <- for it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%3s %16s:%-5s    %16s:%-5s %6s  %s\n", "CPU", "LADDR", "LPORT", "RADDR", "RPORT", "BYTES", "FLAGS")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::tcp-send
{
	this->bytes = (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_plength - (xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_offset;
	printf("%3d %16s:%-5d -> %16s:%-5d %6d  (",  cpu,
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port, this->bytes);
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 1) ? "FIN|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 2) ? "SYN|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 4) ? "RST|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 8) ? "PUSH|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 16) ? "ACK|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 32) ? "URG|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 64) ? "ECE|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 128) ? "CWR|" : "");
	printf("%s", (xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags == 0 ? "null " : "");
	printf("\b)\n");
	line++;
}

PROV::tcp-receive
{
	this->bytes = (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_plength - (xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_offset;
	printf("%3d %16s:%-5d <- %16s:%-5d %6d  (",  cpu,
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port, this->bytes);
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 1) ? "FIN|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 2) ? "SYN|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 4) ? "RST|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 8) ? "PUSH|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 16) ? "ACK|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 32) ? "URG|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 64) ? "ECE|" : "");
	printf("%s", ((xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags & 128) ? "CWR|" : "");
	printf("%s", (xlate <tcpinfo_t>((opte_packet_t *)arg1)).tcp_flags == 0 ? "null " : "");
	printf("\b)\n");
	line++;
}

PROV::tcp-send,
PROV::tcp-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
