"""Datagrams of several fragments, there and back.

serve PORT               sends back what comes, from both families
ask ADDRESS PORT COUNT   sends so many of different sizes and has them sent
                         back; prints how many came back as they were
"""
import random
import socket
import sys


def serve(port):
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    print("echo: ready", flush=True)
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data, peer)


def ask(address, port, count):
    chance = random.Random(1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answered = 0
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect((address, port))
        udp.settimeout(20)
        for number in range(count):
            data = number.to_bytes(4, "big") + chance.randbytes(chance.randrange(1500, 12000))
            udp.send(data)
            try:
                back = udp.recv(65536)
                # An earlier one may have come twice.
                while back[:4] != data[:4]:
                    back = udp.recv(65536)
            except TimeoutError:
                continue
            answered += back == data
    print("answered", answered)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
