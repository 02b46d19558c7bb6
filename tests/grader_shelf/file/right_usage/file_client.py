import socket
import sys

# uso: python file_client.py servidor puerto archivo guardar_como
if len(sys.argv) != 5:
    print("uso: python file_client.py servidor puerto archivo guardar_como")
    sys.exit()

servidor = sys.argv[1]
puerto = int(sys.argv[2])
archivo = sys.argv[3]
destino = sys.argv[4]

conexion = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
try:
    conexion.connect((servidor, puerto))
except socket.error as error:
    print("No se pudo conectar:", error)
    sys.exit()

conexion.send(archivo.encode())
estado = conexion.recv(1)
if estado == b"1":
    salida = open(destino, "wb")
    total = 0
    while True:
        trozo = conexion.recv(4096)
        if not trozo:
            break
        salida.write(trozo)
        total += len(trozo)
    salida.close()
    print("Listo, %d bytes guardados en %s" % (total, destino))
else:
    print("El archivo", archivo, "no existe en el servidor")
conexion.close()
