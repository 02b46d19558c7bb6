import socket
import sys

# uso: python file_server.py [puerto]
puerto = int(sys.argv[1]) if len(sys.argv) == 2 else 8500

servidor = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
servidor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
servidor.bind(("", puerto))
servidor.listen(1)
print("Esperando clientes en el puerto", puerto)

while True:
    cliente, direccion = servidor.accept()
    nombre = cliente.recv(255).decode()
    print("El cliente", direccion, "pide", nombre)
    try:
        archivo = open(nombre, "rb")
        cliente.send(b"1")
        while True:
            trozo = archivo.read(4096)
            if not trozo:
                break
            cliente.sendall(trozo)
        archivo.close()
        print("Archivo enviado")
    except FileNotFoundError:
        cliente.send(b"0")
        print("No existe ese archivo")
    cliente.close()
