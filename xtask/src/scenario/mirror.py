"""Tells whoever calls how it is seen.

serve PORT         TCP and UDP, both families
ask ADDRESS PORT [FROM]
                   by TCP and by UDP, and prints both answers
"""
import socket
import sys
import threading


def text(peer):
    # An IPv4 peer of a socket for both families has its IPv4-mapped form.
    return f"{peer[0].removeprefix('::ffff:')} {peer[1]}".encode()


def serve(port):
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # Who has several addresses answers by the one that was asked.
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    udp.bind(("::", port))

    def datagrams():
        while True:
            _, asked, _, peer = udp.recvmsg(100, socket.CMSG_SPACE(20))
            udp.sendmsg([text(peer)], asked, 0, peer)

    threading.Thread(target=datagrams, daemon=True).start()
    print("mirror: ready", flush=True)
    while True:
        connection, peer = tcp.accept()
        with connection:
            connection.sendall(text(peer))


def ask(address, port, here=""):
    with socket.create_connection((address, port), 5, (here, 0)) as tcp:
        print("tcp", tcp.recv(100).decode(), flush=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.bind((here, 0))
        # Nobody else may answer.
        udp.connect((address, port))
        # A datagram may be lost.
        for _ in range(3):
            udp.send(b"?")
            try:
                print("udp", udp.recv(100).decode(), flush=True)
                return
            except TimeoutError:
                pass
    sys.exit("no answer by UDP")


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
