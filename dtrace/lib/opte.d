/*
 * Types, names and translators for scripts about OPTE.
 *
 * One text for both DTraces: that of illumos, whose probes are in the kernel,
 * and that of Linux, whose probes are in xded. All addresses that probes pass
 * are of the same address space as the probe, so they are followed as they are.
 */

#pragma D depends_on library protos.d

/* From opte-core/src/event.rs, by `cargo xtask probes`. */

/* A name; what is left is zeroes. */
typedef struct opte_name {
	char text[32];
} opte_name_t;

/* The key of a flow, as its guest sees it. */
typedef struct opte_key {
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t proto;
	uint8_t family;
} opte_key_t;

/* A port. */
typedef struct opte_port {
	char name[32];
	uint32_t id;
	uint32_t vni;
	uint8_t mac[6];
	uint8_t gateway_mac[6];
} opte_port_t;

/* What a flow was when it ended. */
typedef struct opte_ending {
	uint64_t lifetime_ms;
	uint64_t idle_ms;
	uint64_t packets_out;
	uint64_t packets_in;
	uint64_t bytes_out;
	uint64_t bytes_in;
	uint8_t opened;
	uint8_t state;
} opte_ending_t;

/* A packet as the guest sees it. */
typedef struct opte_packet {
	uint64_t frame;
	uint64_t flow_id;
	uint32_t frame_len;
	uint32_t head_len;
	uint32_t payload_len;
	uint16_t ip;
	uint16_t transport;
	uint16_t ethertype;
	uint8_t dir;
	uint8_t state;
	uint8_t src[16];
	uint8_t dst[16];
	opte_key_t key;
} opte_packet_t;

/* Directions. */
inline string opte_dir[uint8_t n] =
	n == 1 ? "in" :
	n == 2 ? "out" :
	"-";

/* Layers; zero is none. */
inline string opte_layer[uint8_t n] =
	n == 1 ? "gateway" :
	n == 2 ? "firewall" :
	n == 3 ? "router" :
	n == 4 ? "nat" :
	n == 5 ? "overlay" :
	"-";

/* How a decision was found. */
inline string opte_path[uint8_t n] =
	n == 0 ? "none" :
	n == 1 ? "hit" :
	n == 2 ? "miss" :
	"-";

/* What made a cached decision stale. */
inline string opte_stale[uint8_t n] =
	n == 1 ? "policy" :
	n == 2 ? "mapping" :
	n == 3 ? "underlay" :
	n == 4 ? "idle" :
	"-";

/* Why a flow ended. */
inline string opte_why[uint8_t n] =
	n == 1 ? "idle" :
	n == 2 ? "closed" :
	n == 3 ? "evicted" :
	n == 4 ? "revoked" :
	n == 5 ? "cleared" :
	"-";

/* States of a connection. */
inline string opte_state[uint8_t n] =
	n == 0 ? "CLOSED" :
	n == 1 ? "LISTEN" :
	n == 2 ? "SYN_SENT" :
	n == 3 ? "SYN_RECEIVED" :
	n == 4 ? "ESTABLISHED" :
	n == 5 ? "FIN_WAIT_1" :
	n == 6 ? "FIN_WAIT_2" :
	n == 7 ? "CLOSE_WAIT" :
	n == 8 ? "CLOSING" :
	n == 9 ? "LAST_ACK" :
	n == 10 ? "TIME_WAIT" :
	n == 11 ? "RESET" :
	"-";

/* By hand from here. */

/* An address as text, by its IP version. */
inline string opte_addr[uint8_t *a, uint8_t family] =
	family == 4 ? inet_ntoa((ipaddr_t *)(a + 12)) :
	inet_ntoa6((in6_addr_t *)a);

/* An address as text; IPv4 addresses are those in IPv4-mapped form. */
inline string opte_ip[uint8_t *a] =
	*(uint64_t *)a == 0 && *(uint32_t *)(a + 8) == htonl(0xffff) ?
	inet_ntoa((ipaddr_t *)(a + 12)) : inet_ntoa6((in6_addr_t *)a);

/* The guest's address of a packet and the far one. */
inline string opte_laddr[opte_packet_t *p] = opte_addr[p->key.local, p->key.family];
inline string opte_raddr[opte_packet_t *p] = opte_addr[p->key.remote, p->key.family];

/* A port's name, or a dash. */
inline string opte_port[opte_port_t *p] = p == NULL ? "-" : p->name;

/* A text of C, or a dash. */
inline string opte_text[uintptr_t s] = s == 0 ? "-" : stringof((char *)s);

/* Headers as they are on the wire: numbers in network order. */
typedef struct opte_ipv4 {
	uint8_t ver_ihl;
	uint8_t tos;
	uint16_t length;
	uint16_t ident;
	uint16_t flags_offset;
	uint8_t ttl;
	uint8_t protocol;
	uint16_t checksum;
	uint32_t src;
	uint32_t dst;
} opte_ipv4_t;

typedef struct opte_ipv6 {
	uint32_t ver_class_flow;
	uint16_t plen;
	uint8_t nexthdr;
	uint8_t hlim;
	uint8_t src[16];
	uint8_t dst[16];
} opte_ipv6_t;

typedef struct opte_tcp {
	uint16_t sport;
	uint16_t dport;
	uint32_t seq;
	uint32_t ack;
	uint8_t offset;
	uint8_t flags;
	uint16_t window;
	uint16_t checksum;
	uint16_t urgent;
} opte_tcp_t;

typedef struct opte_udp {
	uint16_t sport;
	uint16_t dport;
	uint16_t length;
	uint16_t checksum;
} opte_udp_t;

typedef struct opte_sctp {
	uint16_t sport;
	uint16_t dport;
	uint32_t vtag;
	uint32_t checksum;
	uint8_t chunk;
	uint8_t flags;
	uint16_t chunk_length;
} opte_sctp_t;

typedef struct opte_icmp {
	uint8_t type;
	uint8_t code;
	uint16_t checksum;
	uint16_t ident;
	uint16_t sequence;
} opte_icmp_t;

typedef struct opte_arp {
	uint16_t hardware;
	uint16_t protocol;
	uint8_t hardware_length;
	uint8_t protocol_length;
	uint16_t operation;
	uint8_t sender_mac[6];
	uint8_t sender[4];
	uint8_t target_mac[6];
	uint8_t target[4];
} opte_arp_t;

typedef struct opte_ether {
	uint8_t dst[6];
	uint8_t src[6];
	uint16_t type;
} opte_ether_t;

inline opte_ipv4_t *opte_ipv4[opte_packet_t *p] = (opte_ipv4_t *)(p->frame + p->ip);
inline opte_ipv6_t *opte_ipv6[opte_packet_t *p] = (opte_ipv6_t *)(p->frame + p->ip);
inline opte_arp_t *opte_arp[opte_packet_t *p] = (opte_arp_t *)(p->frame + p->ip);
inline opte_tcp_t *opte_tcp[opte_packet_t *p] = (opte_tcp_t *)(p->frame + p->transport);
inline opte_udp_t *opte_udp[opte_packet_t *p] = (opte_udp_t *)(p->frame + p->transport);
inline opte_sctp_t *opte_sctp[opte_packet_t *p] = (opte_sctp_t *)(p->frame + p->transport);
inline opte_icmp_t *opte_icmp[opte_packet_t *p] = (opte_icmp_t *)(p->frame + p->transport);

/*
 * To the types of the operating systems' network providers.
 */
#pragma D binding "1.0" translator
translator pktinfo_t < opte_packet_t *p > {
	pkt_addr = (uintptr_t)p->frame;
};

#pragma D binding "1.0" translator
translator csinfo_t < opte_packet_t *p > {
	cs_addr = (uintptr_t)p->flow_id;
	cs_cid = p->flow_id;
};

#pragma D binding "1.0" translator
translator ipinfo_t < opte_packet_t *p > {
	ip_ver = p->key.family;
	ip_plength = p->payload_len;
	ip_saddr = opte_addr[p->src, p->key.family];
	ip_daddr = opte_addr[p->dst, p->key.family];
};

#pragma D binding "1.0" translator
translator ifinfo_t < opte_port_t *p > {
	if_name = p->name;
	if_local = 0;
	if_ipstack = 0;
	if_addr = (uintptr_t)p;
};

#pragma D binding "1.0" translator
translator ipv4info_t < opte_packet_t *p > {
	ipv4_ver = p->key.family == 4 ? 4 : 0;
	ipv4_ihl = (opte_ipv4[p]->ver_ihl & 0xf) << 2;
	ipv4_tos = opte_ipv4[p]->tos;
	ipv4_length = ntohs(opte_ipv4[p]->length);
	ipv4_ident = ntohs(opte_ipv4[p]->ident);
	ipv4_flags = ntohs(opte_ipv4[p]->flags_offset) >> 13;
	ipv4_offset = ntohs(opte_ipv4[p]->flags_offset) & 0x1fff;
	ipv4_ttl = opte_ipv4[p]->ttl;
	ipv4_protocol = opte_ipv4[p]->protocol;
	ipv4_protostr = opte_proto[opte_ipv4[p]->protocol];
	ipv4_checksum = ntohs(opte_ipv4[p]->checksum);
	ipv4_src = opte_ipv4[p]->src;
	ipv4_dst = opte_ipv4[p]->dst;
	ipv4_saddr = opte_addr[p->src, 4];
	ipv4_daddr = opte_addr[p->dst, 4];
	ipv4_hdr = NULL;
};

#pragma D binding "1.0" translator
translator ipv6info_t < opte_packet_t *p > {
	ipv6_ver = p->key.family == 6 ? 6 : 0;
	ipv6_tclass = (ntohl(opte_ipv6[p]->ver_class_flow) >> 20) & 0xff;
	ipv6_flow = ntohl(opte_ipv6[p]->ver_class_flow) & 0xfffff;
	ipv6_plen = ntohs(opte_ipv6[p]->plen);
	ipv6_nexthdr = opte_ipv6[p]->nexthdr;
	ipv6_nextstr = opte_proto[opte_ipv6[p]->nexthdr];
	ipv6_hlim = opte_ipv6[p]->hlim;
	ipv6_src = (in6_addr_t *)opte_ipv6[p]->src;
	ipv6_dst = (in6_addr_t *)opte_ipv6[p]->dst;
	ipv6_saddr = opte_addr[p->src, 6];
	ipv6_daddr = opte_addr[p->dst, 6];
	ipv6_hdr = NULL;
};

#pragma D binding "1.0" translator
translator tcpinfo_t < opte_packet_t *p > {
	tcp_sport = ntohs(opte_tcp[p]->sport);
	tcp_dport = ntohs(opte_tcp[p]->dport);
	tcp_seq = ntohl(opte_tcp[p]->seq);
	tcp_ack = ntohl(opte_tcp[p]->ack);
	tcp_offset = (opte_tcp[p]->offset >> 4) << 2;
	tcp_flags = opte_tcp[p]->flags;
	tcp_window = ntohs(opte_tcp[p]->window);
	tcp_checksum = ntohs(opte_tcp[p]->checksum);
	tcp_urgent = ntohs(opte_tcp[p]->urgent);
	tcp_hdr = NULL;
};

#pragma D binding "1.0" translator
translator tcpsinfo_t < opte_packet_t *p > {
	tcps_addr = (uintptr_t)p->flow_id;
	tcps_state = p->state;
	tcps_lport = p->key.local_port;
	tcps_rport = p->key.remote_port;
	tcps_laddr = opte_addr[p->key.local, p->key.family];
	tcps_raddr = opte_addr[p->key.remote, p->key.family];
};

#pragma D binding "1.0" translator
translator udpinfo_t < opte_packet_t *p > {
	udp_sport = ntohs(opte_udp[p]->sport);
	udp_dport = ntohs(opte_udp[p]->dport);
	udp_length = ntohs(opte_udp[p]->length);
	udp_checksum = ntohs(opte_udp[p]->checksum);
	udp_hdr = NULL;
};

#pragma D binding "1.0" translator
translator udpsinfo_t < opte_packet_t *p > {
	udps_addr = (uintptr_t)p->flow_id;
	udps_lport = p->key.local_port;
	udps_rport = p->key.remote_port;
	udps_laddr = opte_addr[p->key.local, p->key.family];
	udps_raddr = opte_addr[p->key.remote, p->key.family];
};

/*
 * What the manuals' examples call args[n]->FIELD: `opte-trace -n` defines
 * args as opte_args. Each field has one owner, so n doesn't matter.
 */
typedef struct opte_args {
	string if_name;
	int8_t if_local;
	uint32_t if_ipstack;
	uintptr_t if_addr;
	uintptr_t pkt_addr;
	uintptr_t cs_addr;
	uint64_t cs_cid;
	int cs_pid;
	int cs_zoneid;
	uint8_t ip_ver;
	uint32_t ip_plength;
	string ip_saddr;
	string ip_daddr;
	uint8_t ipv4_ver;
	uint8_t ipv4_ihl;
	uint8_t ipv4_tos;
	uint16_t ipv4_length;
	uint16_t ipv4_ident;
	uint8_t ipv4_flags;
	uint16_t ipv4_offset;
	uint8_t ipv4_ttl;
	uint8_t ipv4_protocol;
	string ipv4_protostr;
	uint16_t ipv4_checksum;
	ipaddr_t ipv4_src;
	ipaddr_t ipv4_dst;
	string ipv4_saddr;
	string ipv4_daddr;
	uint8_t ipv6_ver;
	uint8_t ipv6_tclass;
	uint32_t ipv6_flow;
	uint16_t ipv6_plen;
	uint8_t ipv6_nexthdr;
	string ipv6_nextstr;
	uint8_t ipv6_hlim;
	in6_addr_t *ipv6_src;
	in6_addr_t *ipv6_dst;
	string ipv6_saddr;
	string ipv6_daddr;
	uint16_t tcp_sport;
	uint16_t tcp_dport;
	uint32_t tcp_seq;
	uint32_t tcp_ack;
	uint8_t tcp_offset;
	uint8_t tcp_flags;
	uint16_t tcp_window;
	uint16_t tcp_checksum;
	uint16_t tcp_urgent;
	uintptr_t tcps_addr;
	int tcps_state;
	uint16_t tcps_lport;
	uint16_t tcps_rport;
	string tcps_laddr;
	string tcps_raddr;
	uint16_t udp_sport;
	uint16_t udp_dport;
	uint16_t udp_length;
	uint16_t udp_checksum;
	uintptr_t udps_addr;
	uint16_t udps_lport;
	uint16_t udps_rport;
	string udps_laddr;
	string udps_raddr;
} opte_args_t;

#pragma D binding "1.0" translator
translator opte_args_t < opte_packet_t *p > {
	if_name = ((opte_port_t *)arg0)->name;
	if_local = 0;
	if_ipstack = 0;
	if_addr = (uintptr_t)((opte_port_t *)arg0);
	pkt_addr = (xlate <pktinfo_t>(p)).pkt_addr;
	cs_addr = (xlate <csinfo_t>(p)).cs_addr;
	cs_cid = (xlate <csinfo_t>(p)).cs_cid;
	cs_pid = 0;
	cs_zoneid = 0;
	ip_ver = (xlate <ipinfo_t>(p)).ip_ver;
	ip_plength = (xlate <ipinfo_t>(p)).ip_plength;
	ip_saddr = (xlate <ipinfo_t>(p)).ip_saddr;
	ip_daddr = (xlate <ipinfo_t>(p)).ip_daddr;
	ipv4_ver = (xlate <ipv4info_t>(p)).ipv4_ver;
	ipv4_ihl = (xlate <ipv4info_t>(p)).ipv4_ihl;
	ipv4_tos = (xlate <ipv4info_t>(p)).ipv4_tos;
	ipv4_length = (xlate <ipv4info_t>(p)).ipv4_length;
	ipv4_ident = (xlate <ipv4info_t>(p)).ipv4_ident;
	ipv4_flags = (xlate <ipv4info_t>(p)).ipv4_flags;
	ipv4_offset = (xlate <ipv4info_t>(p)).ipv4_offset;
	ipv4_ttl = (xlate <ipv4info_t>(p)).ipv4_ttl;
	ipv4_protocol = (xlate <ipv4info_t>(p)).ipv4_protocol;
	ipv4_protostr = (xlate <ipv4info_t>(p)).ipv4_protostr;
	ipv4_checksum = (xlate <ipv4info_t>(p)).ipv4_checksum;
	ipv4_src = (xlate <ipv4info_t>(p)).ipv4_src;
	ipv4_dst = (xlate <ipv4info_t>(p)).ipv4_dst;
	ipv4_saddr = (xlate <ipv4info_t>(p)).ipv4_saddr;
	ipv4_daddr = (xlate <ipv4info_t>(p)).ipv4_daddr;
	ipv6_ver = (xlate <ipv6info_t>(p)).ipv6_ver;
	ipv6_tclass = (xlate <ipv6info_t>(p)).ipv6_tclass;
	ipv6_flow = (xlate <ipv6info_t>(p)).ipv6_flow;
	ipv6_plen = (xlate <ipv6info_t>(p)).ipv6_plen;
	ipv6_nexthdr = (xlate <ipv6info_t>(p)).ipv6_nexthdr;
	ipv6_nextstr = (xlate <ipv6info_t>(p)).ipv6_nextstr;
	ipv6_hlim = (xlate <ipv6info_t>(p)).ipv6_hlim;
	ipv6_src = (xlate <ipv6info_t>(p)).ipv6_src;
	ipv6_dst = (xlate <ipv6info_t>(p)).ipv6_dst;
	ipv6_saddr = (xlate <ipv6info_t>(p)).ipv6_saddr;
	ipv6_daddr = (xlate <ipv6info_t>(p)).ipv6_daddr;
	tcp_sport = (xlate <tcpinfo_t>(p)).tcp_sport;
	tcp_dport = (xlate <tcpinfo_t>(p)).tcp_dport;
	tcp_seq = (xlate <tcpinfo_t>(p)).tcp_seq;
	tcp_ack = (xlate <tcpinfo_t>(p)).tcp_ack;
	tcp_offset = (xlate <tcpinfo_t>(p)).tcp_offset;
	tcp_flags = (xlate <tcpinfo_t>(p)).tcp_flags;
	tcp_window = (xlate <tcpinfo_t>(p)).tcp_window;
	tcp_checksum = (xlate <tcpinfo_t>(p)).tcp_checksum;
	tcp_urgent = (xlate <tcpinfo_t>(p)).tcp_urgent;
	tcps_addr = (xlate <tcpsinfo_t>(p)).tcps_addr;
	tcps_state = (xlate <tcpsinfo_t>(p)).tcps_state;
	tcps_lport = (xlate <tcpsinfo_t>(p)).tcps_lport;
	tcps_rport = (xlate <tcpsinfo_t>(p)).tcps_rport;
	tcps_laddr = (xlate <tcpsinfo_t>(p)).tcps_laddr;
	tcps_raddr = (xlate <tcpsinfo_t>(p)).tcps_raddr;
	udp_sport = (xlate <udpinfo_t>(p)).udp_sport;
	udp_dport = (xlate <udpinfo_t>(p)).udp_dport;
	udp_length = (xlate <udpinfo_t>(p)).udp_length;
	udp_checksum = (xlate <udpinfo_t>(p)).udp_checksum;
	udps_addr = (xlate <udpsinfo_t>(p)).udps_addr;
	udps_lport = (xlate <udpsinfo_t>(p)).udps_lport;
	udps_rport = (xlate <udpsinfo_t>(p)).udps_rport;
	udps_laddr = (xlate <udpsinfo_t>(p)).udps_laddr;
	udps_raddr = (xlate <udpsinfo_t>(p)).udps_raddr;
};

inline opte_args_t *opte_args[int n] =
	xlate <opte_args_t *>((opte_packet_t *)arg1);
